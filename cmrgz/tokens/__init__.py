"""The kit for token predictors: orders, sampling, the decoding loop and the model that plugins compose."""
