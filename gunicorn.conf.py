"""What gunicorn reads by itself: threads for those who watch jobs beside those for requests.

A thread that waits costs some 50 KB. docs/adr/0012-watchers.md says why.
"""

import resource

worker_class = "gthread"
threads = 1040
worker_connections = 4000
graceful_timeout = 20

# A connection is an open file, and the usual limit is 1,024.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))


def post_worker_init(worker):
    """Say how many streams there may be, and when to end them."""
    from api.lanes import served

    served(worker.wsgi, worker.cfg.threads, going_on=lambda: worker.alive)
