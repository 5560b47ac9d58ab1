"""Go templates of labels and annotations, with the functions of Prometheus."""
