"""Faults, one after the other, against real processes on real servers; what must hold, checked.

`make fault` runs every case of `cases/`, `make fault CASE=F40` those whose number begins so, and
`SEED=n` repeats a run. Each case has a database, a vhost and processes of its own; both servers are
private and started once. The service is never asked whether it did well: three journals outside it
are, each line on the disk before anybody acts on it.

- the client's (`client.py`): every request, its answer, or that there was none;
- the provider's (`provider.py`): a process that plays WhatsApp and takes whatever it is told,
  twice if told twice. `wire.py` is the driver that speaks to it, `program.py` `hantar` with it;
- the listener's (`listener.py`): every status event, from an independent queue on `hantar.events`.

`service/failpoints.py` kills, stalls or cuts off a process at a named point, `proxy.py` spoils a
connection, `world.py` does the rest. `checker.py` then compares the journals with each other and
with the rows. A case counts only if its fault struck while messages were in flight, and traffic
went through afterwards. `matrix.py` has a line for every fault that was thought of; `soak.py` mixes
faults for ten minutes, and `mutants.py` puts known bugs in, each of which has to be found.
"""
