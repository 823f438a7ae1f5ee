"""`python -m dasctl`."""

from dasctl.cli.main import main

if __name__ == "__main__":
    main()
