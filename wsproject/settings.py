"""Settings of the demo site, from the environment, with defaults for a developer's machine.

========================  ==============================================================
``DATABASE_URL``          default: SQLite in ``db.sqlite3``; ``postgresql://…``, ``mysql://…``
``REDIS_URL``             Redis or Valkey for the channel layer and for rates of all
                          processes; default: in memory, which one process alone can see
``DJANGO_SECRET_KEY``     default: generated once, kept in ``.secret_key``
``DJANGO_DEBUG``          ``0`` in production; default ``1``
``ALLOWED_HOSTS``         separated by commas
``CSRF_TRUSTED_ORIGINS``  separated by commas, with scheme
``HANDLER_PACKAGES``      where handlers are looked up, separated by commas
``TIME_ZONE``             of what the admin shows; default ``UTC``
========================  ==============================================================
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dj_database_url

from wsproject.secret_key import read_or_create_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent


def _list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


DEBUG = os.environ.get("DJANGO_DEBUG", "1") not in ("0", "false", "")
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or read_or_create_secret_key(
    BASE_DIR / ".secret_key"
)
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "daphne",  # first, since it replaces runserver by one that speaks ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "websockets_app",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "wsproject.urls"
ASGI_APPLICATION = "wsproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "wsproject" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Health checks: the processes here live for weeks, and a connection that the database has dropped
# in the meantime is found before it is used.
_database: dict[str, Any] = dict(
    dj_database_url.config(
        default=f"sqlite:///{quote(str(BASE_DIR / 'db.sqlite3'))}", conn_health_checks=True
    )
)
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # The server and the runner write at the same time. Readers don't wait for a writer (WAL), and
    # a transaction takes its write lock when it begins: one that upgrades from reading to writing
    # would fail at once with "database is locked", without waiting for the timeout.
    _database["OPTIONS"] = _database.get("OPTIONS", {}) | {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if REDIS_URL := os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                # No socket timeout: the layer waits for messages with a blocking pop of five
                # seconds, and redis-py 8 would by default give up after the same five seconds,
                # which kills the consumers of a site where nothing happens.
                "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
            },
        },
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
TIME_ZONE = os.environ.get("TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "build" / "static"
STATICFILES_DIRS = [BASE_DIR / "wsproject" / "static"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"websockets_app": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}

WEBSOCKETS = {
    "HANDLER_PACKAGES": _list("HANDLER_PACKAGES", "handlers"),
    # The demo has a client that listens to this site's own endpoint. Addresses of the machine
    # itself are otherwise refused.
    "ALLOWED_CLIENT_HOSTS": ["127.0.0.1", "localhost"],
    # The client's URI is ws://env:DEMO_SITE/…. Clients can read no other variable.
    "CLIENT_ENVIRONMENT": ["DEMO_SITE"],
    "RATE_STORE": REDIS_URL or None,
}
