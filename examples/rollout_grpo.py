"""GRPO with exact tokens: 16 samples of one prompt, a tool turn, then what each sample was.

    python examples/rollout_grpo.py --url http://127.0.0.1:30000 [--api-key KEY]

The router there runs with `--token-cache --tokenizer MODEL`. Its client sends and gets text; token
ids, log-probabilities and loss mask come from the router in the end. Without --url the script
starts a router and a simulated worker of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx

SAMPLES = 16
# What your model's chat template makes of system, user and tools, and of a tool's result.
PROMPT = "<|im_start|>user\nWhat is 17 * 3?<|im_end|>\n<|im_start|>assistant\n"
TOOL = "<|im_end|>\n<|im_start|>tool\n51<|im_end|>\n<|im_start|>assistant\n"
# With these the simulated worker writes four texts in two ways: " say" is [261, 349] or [962, 91].
SIM_SEEDS = [13304, 65465, 20868, 112495, 91006, 324429, 104778, 357680, 13304, *range(1, 8)]


def generate(client: httpx.Client, session: str, text: str, **params: Any) -> dict[str, Any]:
    """One turn. The session keeps a dialogue on its worker, and names it in the router."""
    body = {"text": text, "sampling_params": {"temperature": 1.0, **params}}
    reply = client.post("/generate", json=body, headers={"X-Miles-Session": session})
    return dict(reply.raise_for_status().json())


def retrieve(client: httpx.Client, text: str, **named: str) -> dict[str, Any]:
    """The trajectory with this text: of one session, of one request (rid), or the newest of all."""
    reply = client.post("/retrieve_from_text", json={"text": text, **named})
    reply.raise_for_status()  # 404: never seen; 410: evicted, see --cache-bytes. Never a guess.
    found: dict[str, Any] = reply.json()
    assert found["exact"], "a worker has consumed or produced every one of these ids"
    return found


def roll_out(client: httpx.Client, session: str, seed: int) -> dict[str, Any]:
    """One sample: an answer, a tool's result, another answer; and what to train on."""
    first = generate(client, session, PROMPT, max_new_tokens=2, sampling_seed=seed)
    text = PROMPT + first["text"]
    # Workers trim <|im_end|> from the text of an answer. TOOL begins with it: the router knows when
    # the model has generated it already, and does not double it.
    second = generate(client, session, text + TOOL, max_new_tokens=32, sampling_seed=seed)
    whole = retrieve(client, text + TOOL + second["text"], session=session)
    # That is all to train on. What came with the answers proves it; nobody need keep that.
    marked = zip(whole["tokens"], whole["loss_mask"], whole["rollout_logp"], strict=True)
    generated = [(token, logprob) for token, is_made, logprob in marked if is_made]
    assert [token for token, _ in generated] == first["output_ids"] + second["output_ids"]
    assert all(logprob <= 0 for _, logprob in generated)
    assert whole["rids"] == [first["meta_info"]["id"], second["meta_info"]["id"]]
    return {"session": session, "text": text, "first": first, "trajectory": whole}


def count_ambiguous(client: httpx.Client, samples: list[dict[str, Any]]) -> int:
    """Texts that stand for several sequences of ids. Each is found by its session, or its rid."""
    by_text = defaultdict(list)
    for sample in samples:
        by_text[sample["text"]].append(sample)
        ids, rid = sample["first"]["output_ids"], sample["first"]["meta_info"]["id"]
        for name in ({"session": sample["session"]}, {"rid": rid}):
            found = retrieve(client, sample["text"], **name)
            assert (found["tokens"][-len(ids) :], found["candidates"]) == (ids, 1)
    ambiguous = 0
    for text, group in by_text.items():
        # Without session and rid the newest comes, and `candidates` says among how many.
        assert retrieve(client, text)["candidates"] >= len(group)
        ways = sorted({tuple(sample["first"]["output_ids"]) for sample in group})
        if len(ways) > 1:
            print(f"{text[len(PROMPT) :]!r} in {len(group)} samples: ids {ways}")
        ambiguous += len(ways) > 1
    return ambiguous


def start_own(stack: ExitStack) -> str:
    """A simulated worker and a router, ended with `stack`; the router's URL."""
    from miles_router.demo.processes import free_ports  # noqa: PLC0415  only needed here
    from miles_router.sim.tokenizer import tokenizer_dir  # noqa: PLC0415

    worker, router = free_ports(2)
    serve = f"serve --port {router} --worker http://127.0.0.1:{worker} --token-cache --tokenizer"
    for flags in (f"sim --port {worker} --drift 1".split(), [*serve.split(), str(tokenizer_dir())]):
        command = [sys.executable, "-m", "miles_router", *flags]
        process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))  # noqa: S603
        stack.callback(process.terminate)
    with httpx.Client(transport=httpx.HTTPTransport(retries=6)) as client:  # 32 s until it listens
        while client.get(f"http://127.0.0.1:{router}/readyz").status_code != 200:
            time.sleep(0.1)
    return f"http://127.0.0.1:{router}"


def main() -> None:
    """Roll out one group, and say what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", help="of a router; without it, one is started")
    parser.add_argument("--api-key", default="", help="if the router wants one")
    args = parser.parse_args()
    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    with ExitStack() as stack:
        url, seeds = (args.url, range(SAMPLES)) if args.url else (start_own(stack), SIM_SEEDS)
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=600))
        names = [f"grpo-{time.time_ns()}-{number}" for number in range(SAMPLES)]
        pool = stack.enter_context(ThreadPoolExecutor(SAMPLES))  # all at once, as rollouts run
        samples = list(pool.map(roll_out, [client] * SAMPLES, names, seeds))
        assert count_ambiguous(client, samples) == 4 or args.url, "see SIM_SEEDS"
    print("OK:", [len(sample["trajectory"]["tokens"]) for sample in samples], "exact tokens")


if __name__ == "__main__":
    main()
