"""What was found out, drawn: figures and the HTML report. The only room with matplotlib."""
