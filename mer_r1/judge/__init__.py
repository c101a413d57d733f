"""Questions to a language model that judges: a client of any OpenAI-compatible endpoint, prompts as files."""
