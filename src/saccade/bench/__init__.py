"""One ruler for every server that speaks OpenAI's chat completions; speaks HTTP alone and imports no other room."""
