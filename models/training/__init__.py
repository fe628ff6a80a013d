"""Training of the detector: from labelled pictures to network weights.

In: `Picture`s (pixels and class masks, from a tile set or the simulator) and `TrainSettings`. Out: a trained `SiteNet`
with its loss curve, reproducible from a seed and resumable from a checkpoint.
Read first: `train.train`. It draws augmented crops (`samples`), computes the loss (`loss`), and saves its state
(`checkpoint`) on the device of `runtime`. Before it: `sampling_design` chooses buildings and tiles, `spatial_splits`
assigns places to train, val and test and finds leaks, `tileset` reads tiles back as pictures. After it:
`out_of_distribution` fits the novelty measure.
"""
