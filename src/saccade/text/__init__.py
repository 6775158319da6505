"""Words become token ids and ids become words: tokenizer, chat template, placeholders, positions."""
