"""Data larger than a disk: arrays in shards, which are read, and fetched, when they are needed.

Each file has one subject:

    shard_list       shards.json: which shards there are, and what is in their files
    shard_order      the order of the examples in an epoch, some shards at a time
    sharded          arrays in shards, with the methods of an array in one piece
    shard_cache      shards that come from elsewhere, in a folder of limited size
    remote           data sets at a URL
    shard_writer     build_shards.py: a prepared data set as shards
"""
