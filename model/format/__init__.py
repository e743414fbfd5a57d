"""Text format of the model: vocabulary, tokenizer, prompt layouts, hole planner. Never loads torch."""
