"""What the template needs of Keras.

You need not read it to work on your model. Each file has one subject:

    keras_backend    imports Keras on TensorFlow, JAX or PyTorch
    run_callback     writes the run's folder while Keras trains
    keras_file       writes best.keras, which Keras opens without the project
    weight_average   the moving average of the weights
    pretrained       pretrained parts of a network, and their own learning rates
    profiler         where the time of a step goes: profile_steps.py
"""
