# Containers of the standard library as the interpreter sees them. This file is parsed, never imported.


class defaultdict(dict):
    def __init__(self, default_factory=None, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.default_factory = default_factory

    def __missing__(self, key):
        if self.default_factory is None:
            raise KeyError(key)
        self[key] = value = self.default_factory()
        return value


class UserDict(dict):
    def __init__(self, dict=None, **kwargs):
        super().__init__(**kwargs)
        if dict is not None:
            self.update(dict)
