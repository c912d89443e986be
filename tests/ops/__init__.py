"""The pages for whoever is on call, over real HTTP."""
