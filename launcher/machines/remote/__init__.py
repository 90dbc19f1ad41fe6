"""What the providers of remote machines share: names and marks, one list of all machines, the watch, the strays."""
