"""How fast it is: figures with their reach beside them.

The servers, databases and processes are those of ``tests.infrastructure``, so that what is
measured is started as the tests start it. Linux alone: CPU times come from ``/proc``.
"""
