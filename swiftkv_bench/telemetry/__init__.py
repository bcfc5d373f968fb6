"""What machine and server do while a trial runs: processes of the engine, GPUs, gauges of the server.

Sampled in the harness's own process, never in a client process. What cannot be read is None.

    processes.py  processor time and memory of an engine's process group, from /proc
    cards.py      which GPUs are an engine's
    gpu.py        power, energy, utilisation of NVIDIA GPUs: NVML where pynvml is installed, else nvidia-smi
    watch.py      the edges of a trial and the sampling between them
"""
