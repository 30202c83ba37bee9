"""Where prompts, demonstrations and human comparisons come from; no gold reward lives here."""
