"""What load does to it: batches, latency under load, capacity within an SLO, and what is left when parts fail.

A replica comes from a deployment, a demand from a workload; times are seconds, rates requests per second, lengths
tokens, power watts. Every simulation is the same for the same seed; none of it is measured.

>>> import llmsizer
>>> catalog = llmsizer.load_catalog()
>>> deployment = llmsizer.Deployment(
...     model=catalog.model("llama-3.1-8b"), gpu=catalog.gpu("h100-sxm-80"), weights=llmsizer.get_precision("fp8")
... )
>>> workload = llmsizer.Workload(requests_per_second=2.0, prompt_tokens=1000, output_tokens=200, peak_to_average=2.0)
>>> slo = llmsizer.Slo(ttft_p95_seconds=1.0, tpot_p95_seconds=0.05)
>>> replica, stream = llmsizer.replica_of(deployment), llmsizer.stream_of(workload, context_tokens=8192)

One replica in the peak hour, 15 minutes of it, the first three of which warm it up:

>>> result = llmsizer.simulate(replica, stream.at_rate(4.0), duration_seconds=900, warmup_seconds=180)
>>> result.verdict, result.ttft.p95_seconds < 1.0
('STABLE', True)

The largest rate that it holds within the SLO, and what gives out beyond it:

>>> found = llmsizer.largest_rate(replica, stream, slo)
>>> found.requests_per_second > 4.0, found.missed in {"ttft", "tpot", "overload"}
(True, True)

Three replicas on three hosts: what the peak hour keeps without one of them:

>>> site = llmsizer.Site(
...     replica=replica, stream=stream, goal=llmsizer.Goal(slo=slo), replicas=3, replicas_per_host=1, gpus_per_replica=1
... )
>>> [(lost.what, lost.replicas_left, lost.holds_slo) for lost in llmsizer.losses(site, 4.0)]
[('one replica down', 2, True), ('one host down', 2, True)]

More stands in the modules: ``service`` (percentiles with intervals), ``failures`` (N+1, hours a year), ``retries``,
``disaggregation``, ``energy``. The simulator needs ``pip install 'llmsizer[simulate]'``.
"""
