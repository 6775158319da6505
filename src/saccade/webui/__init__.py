"""The page: files for a browser, served as they are; a customer of our HTTP interface that knows nothing else of us."""
