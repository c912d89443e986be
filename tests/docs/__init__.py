"""The documentation: generated pages, the site and its links, the words, the recipes."""
