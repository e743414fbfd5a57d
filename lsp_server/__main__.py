"""`python -I -m lsp_server` is `seed-lsp`; -I keeps the working directory's modules out."""

from lsp_server.entry import main

if __name__ == "__main__":
    main()
