"""`python -m mer_r1` is the command `mer-r1`."""

from mer_r1.commands import main

raise SystemExit(main())
