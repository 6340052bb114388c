"""Settings of the test suite: the demo site's, on a database that is thrown away.

``TEST_DATABASE_URL`` selects another database than SQLite; ``make test-postgresql`` and
``make test-mariadb`` set it.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("DJANGO_SECRET_KEY", "not secret: for tests alone")
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL") or "sqlite:///unused"
os.environ.pop("REDIS_URL", None)

from wsproject.settings import *  # noqa: F403
from wsproject.settings import DATABASES

DEBUG = False

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file: an in-memory database that threads share fails at once where a file would wait for
    # the other's lock. pytest-django adds the name of the worker.
    _directory = tempfile.mkdtemp(prefix="websockets-tests-")
    atexit.register(shutil.rmtree, _directory, ignore_errors=True)
    DATABASES["default"]["NAME"] = f"{_directory}/db.sqlite3"
    DATABASES["default"]["TEST"] = {"NAME": f"{_directory}/test.sqlite3"}
    if os.environ.get("TEST_ROUTER") == "replica":  # as `make test-replica` sets it
        DATABASES["replica"] = {
            **DATABASES["default"],
            "NAME": f"{_directory}/replica.sqlite3",
            "TEST": {"NAME": f"{_directory}/test-replica.sqlite3"},
        }
        DATABASE_ROUTERS = ["tests.infrastructure.replica.ReplicaRouter"]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
