"""An SGLang-compatible inference worker over Hugging Face transformers, on the CPU.

It exists so that the router can be driven with a real model on any machine: real tokens, real
log-probabilities, real batching, at the speed one CPU thread allows.

    params, intake      what a request may say, and what it becomes
    sequences, answers  one running request, and the JSON it is answered with
    spelling            token ids to text: stop strings, trimming, what a stream may show
    sampling, kvcache   the mathematics of one step (torch)
    runner              the model: prefill, decode; lives in one thread
    engine              who runs, waits, pauses, is aborted; lives in the trio thread
    loading             model, tokenizer and the GGUF file of the default model
    web, chat           the HTTP routes
"""
