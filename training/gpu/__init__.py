"""Training on one large GPU that is lent for minutes and reached by small parcels only.

`cargo` packs what a job needs and splits it, `job` runs there, `cli` puts the results together.
"""
