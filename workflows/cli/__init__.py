"""The command line: options and help texts. Read `main.main` first; each module holds the commands of one subject."""
