"""Other task queues on the same job, each as its own documentation recommends.

`make bench ARGS=--rivals` installs requirements.lock into an environment that lasts as long as the
run. A module here is a worker's application; run by itself it is the program that enqueues: it
reads how many messages, inserts their rows, a statement for each thousand, publishes a task for
each, and prints `done`. Rows become `sent` with the provider's id. All that is published is
persistent and confirmed, and acknowledged after the work.
"""
