"""The line: values, blobs, and content apart."""
