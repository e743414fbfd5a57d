"""Text format of the model: vocabulary, tokenizer, prompts, hole planner. Never loads torch."""
