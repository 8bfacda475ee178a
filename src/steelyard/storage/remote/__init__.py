"""Files at a URL: only the ranges that a reader asks for are transferred.

`addresses` has the words of URLs, `ranges` what is fetched and kept, `web` HTTP, `stores` all other schemes of fsspec.
"""
