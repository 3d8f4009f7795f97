"""An HTTP server of three Batch APIs with a simulated model: for a laptop with no key and no network.

    orchestrator gateway                       # http://127.0.0.1:8899/v1, key "local", a batch takes two seconds
    orchestrator gateway --port 0 --faults faults.toml

It serves OneRouter's three documented routes, OpenAI's files and batches for three endpoints, and Anthropic's message
batches. It refuses request bodies that OpenAI and Anthropic refuse, gives the same answer to the same request, survives
`kill -9`, injects the faults of a fault plan (see `faults`), and keeps a bill of all billable answers
(`GET /admin/bill`), so that a test can find out which requests were paid for twice.

    process      __main__ (options, signals)   settings   app (routes)   wire (lost, cut and slow answers)
    all          store (durable state)   states   service   settlement (results and bill of an ended batch)   bill
                 simulated (the model)   schema (answers that fit one)   lines   result_file   faults (the fault plan)
                 body_faults (what is wrong in a body, by its schema)
    OneRouter    intake (a create)   envelopes (its JSON objects)
    OpenAI       openai_routes   openai_service   openai_store   openai_intake (a create, an input file)   uploads
                 openai_bodies (what it refuses)   openai_wire (its JSON objects)
    Anthropic    anthropic_routes   anthropic_service   anthropic_bodies   anthropic_wire

It imports nothing of the rest of the package: client and server share the wire format only.
"""
