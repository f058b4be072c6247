"""What the template needs of PyTorch.

You need not read it to work on your model. Each file has one subject:

    processes        how several processes find each other and exchange numbers
    batch_parts      what they add up of the parts of a batch
    sharding         networks of which each process keeps a part: training.sharding
    buffer_means     the statistics of batch norm where a batch is computed in parts
    weight_average   the moving average of the weights
    pretrained       pretrained parts of a network, and their own learning rates
    profiler         where the time of a step goes: profile_steps.py
"""
