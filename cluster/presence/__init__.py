"""Who is there: what tasks tell of themselves, how they are greeted and asked, and who uses them until when."""
