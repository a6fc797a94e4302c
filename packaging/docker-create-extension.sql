-- Run by the image when it makes its database.
CREATE EXTENSION prometheus_embed;
SELECT embed_migrate();
