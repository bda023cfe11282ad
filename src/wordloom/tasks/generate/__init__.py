"""Going on with texts and answering prompts."""
