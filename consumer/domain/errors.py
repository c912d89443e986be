"""Errors, named after what to do about them.

ConsumerError
├── Transient    nothing is wrong with the work: do the same again later
│   ├── TooSlow  it took too long: do less of it at once
│   └── Renewed  the session is another one: look again at what rests on the one before
├── Rejected     this input will never be accepted: set it aside and go on
└── Fatal        nothing will get better by itself: say so and end
    └── Misconfigured  the user can mend it in the configuration or on the command line
        └── Taken      another process has what this one needs: end at once, so that it can work

Drivers' errors are translated once, in the adapters.
"""


class ConsumerError(Exception):
    """Base of all errors that webhook-router raises on purpose; the message is written for an operator."""


class Transient(ConsumerError):
    """Nothing is wrong with the work; do the same again later."""


class TooSlow(Transient):
    """The statement timeout ended the call; the same call would end the same way, a smaller one may not."""

    def __init__(self, message: str, *, holder: str = "") -> None:
        """`holder`: the lock that the call was waiting for, and who has it, in words."""
        super().__init__(f"{message}; {holder}" if holder else message)
        self.holder = holder


class Renewed(Transient):
    """Nothing was done: the session is another one, perhaps with another server, which need not have what was done in
    the one before."""


class Rejected(ConsumerError):
    """This input will never be accepted; set it aside with the reason and go on."""


class Fatal(ConsumerError):
    """Nothing will get better by itself: wrong configuration, missing rights, missing schema."""


class Misconfigured(Fatal):
    """The user can mend it in the configuration or on the command line; exit code 2."""


class Taken(Misconfigured):
    """Another process has what this one needs; it ends this one although it has worked."""
