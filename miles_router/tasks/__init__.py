"""What runs beside the requests: each `async def run(services, ..., *, task_status) -> NoReturn`.

`app` starts them under `supervise` in the one main nursery.
"""
