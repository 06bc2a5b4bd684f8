# Functions with a gradient of their own as the interpreter sees them. This file is parsed, never imported.


class Context:
    def save_for_backward(self, *tensors):
        pass

    def mark_non_differentiable(self, *tensors):
        pass


class Function:
    @classmethod
    def apply(cls, *args):
        return cls.forward(Context(), *args)
