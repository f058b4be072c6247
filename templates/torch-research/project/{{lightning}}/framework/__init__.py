"""What the template needs of PyTorch and Lightning.

You need not read it to work on your model. Each file has one subject:

    run_callback     writes the run's folder while Lightning trains
    launched         what Lightning is told of several processes
    processes        how several processes find each other and exchange numbers
    buffer_means     the statistics of batch norm where a batch is computed in parts
    weight_average   the moving average of the weights
    pretrained       pretrained parts of a network, and their own learning rates
    profiler         where the time of a step goes: profile_steps.py
"""
