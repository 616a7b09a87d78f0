"""dlaflow's agent: what runs on a board. Standard library and Python 3.8 only (JetPack 5); it travels as one file.

`python3 ROOT/agent-HASH.pyz COMMAND` reads one JSON object from the first line of stdin and answers in JSON lines.
Everything it writes lies in ROOT, the private folder that it stands in:

    store/SHA256        files that were pushed, by content: nothing is sent twice
    incoming/SHA256     files on their way; `adopt` moves them into the store once the hash is right
    jobs/ID/            one job: state.json, events.jsonl, what its programs wrote
    lock                held (flock) by the running job's processes: never stale, because the kernel drops it
    clocks.locked       the clocks are changed and must be put back

A job has two processes in a session of their own, so it outlives the connection. The worker starts the programs; the
guardian waits for the worker to end, however it ends, kills what it left, puts the clocks back and closes the books.
Should both be killed at once, the next call of any agent does that.
"""
