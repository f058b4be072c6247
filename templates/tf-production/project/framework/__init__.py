"""What the template needs of TensorFlow.

You need not read it to work on your model. Each file has one subject:

    quiet            imports TensorFlow without the messages of its libraries
    processes        how several processes find each other and exchange numbers
    tfrecords        how records are written, and read by index
    weight_average   the moving average of the weights
    pretrained       pretrained parts of a network, and their own learning rates
    profiler         where the time of a step goes: profile_steps.py
"""
