"""The suite's fast part on other versions of Python and Django."""

import nox

nox.options.default_venv_backend = "venv"


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
@nox.parametrize("django", ["5.2", "6.0", "6.1"])
def fast_tests(session: nox.Session, django: str) -> None:
    if session.python == "3.11" and django != "5.2":
        session.skip("Django 6 needs Python 3.12")
    session.install("--quiet", "--editable", ".[dev]", f"Django~={django}.0")
    session.run("pytest", "-n", "2", "-m", "not browser and not integration", *session.posargs)
