"""A real HTTP server of OneRouter's Batches API, for a laptop with no key and no network.

    python -m gateway                          # http://127.0.0.1:8899/v1, key "local", a batch takes two seconds
    python -m gateway --port 0 --faults faults.toml

It speaks the three documented routes exactly as documented, answers with a simulated model (the same request always
gets the same answer), survives `kill -9`, does to its clients whatever a fault plan says (see `gateway.faults`), and
keeps the bill: every billable answer is counted, so a test can ask it who paid twice (`GET /admin/bill`).

    __main__    the process: flags, socket, signals          app         the routes
    settings    what the server is told at its start         clock       time, as an argument
    faults      the fault plan                               wire        answers that are lost, cut or slow
    intake      a create's body, to disk and checked         states      where a batch stands at a given time
    envelopes   the documented JSON shapes                   settlement  the end of a batch: results and bill
    simulated   the model: text, usage, price                schema      an answer that fits a JSON schema
    lines       result lines                                 damage      what the plan does to them
    store       durable state: batches, items, counters      bill        the bill, added up

It imports nothing of `orchestrator`: client and server agree on the wire alone.
"""
