import gc as _gc

# Imports make some 100,000 objects that stay; with Python's threshold of 700 the collector walks them again and again, for
# 20 ms of a start. Here, because the first thousands come with the imports of `main.py`.
_gc.set_threshold(50_000, 20, 50)
