"""The admin, and a page to try the endpoints from."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import path

from wsproject.views import demo

urlpatterns = [
    path("", demo, name="demo"),
    path("admin/", admin.site.urls),
    # Daphne serves no files by itself. This does while DEBUG is on; otherwise it is empty, and
    # what `collectstatic` gathers is for the web server in front.
    *staticfiles_urlpatterns(),
]
