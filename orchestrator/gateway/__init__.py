"""A real HTTP server of OneRouter's and OpenAI's Batch APIs, for a laptop with no key and no network.

    python -m orchestrator.gateway             # http://127.0.0.1:8899/v1, key "local", a batch takes two seconds
    python -m orchestrator.gateway --port 0 --faults faults.toml

It speaks OneRouter's three routes exactly as documented, and OpenAI's files and batches. It answers with a simulated
model (the same request always gets the same answer), survives `kill -9`, does to its clients whatever a fault plan says
(see `orchestrator.gateway.faults`), and keeps the bill: every billable answer is counted, so a test can ask it
who paid twice (`GET /admin/bill`).

    __main__    the process: flags, socket, signals          app         the routes
    settings    what the server is told at its start         clock       time, as an argument
    faults      the fault plan                               wire        answers that are lost, cut or slow
    intake      a create's body, to disk and checked         states      where a batch stands at a given time
    envelopes   the documented JSON shapes                   settlement  the end of a batch: results and bill
    simulated   the model: text, usage, price                schema      an answer that fits a JSON schema
    lines       result lines                                 damage      what the plan does to them
    result_file a result file while it is written            overview    bill and list, of both dialects
    store       durable state: batches, items, counters      bill        the bill, added up
    operations  every operation, in one table                openapi     the description made of it
    shapes      the answers, as the description has them

    openai_routes   its routes                               openai_service  what they do
    openai_intake   a create and an input file, checked      uploads         a multipart body, to disk
    openai_states   where a batch stands                     openai_wire     the vendor's JSON shapes
    openai_store    files, and what a batch has besides

It imports nothing of the rest of the package: client and server agree on the wire alone.
"""
