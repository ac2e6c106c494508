"""What an iteration did to the model, by the measures that the field trusts: lm-eval's tasks, code, and judges."""
