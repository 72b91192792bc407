DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
	h=from:from:to:subject:subject:date;
	b=8ojqw6DSOwbN9PzYON4QO0jl7NQO6pwd/Rs1HTX4vmvOVEPOQ/hc1Cw64kruI31BTKvqcUVO0
	 aI3Zg0PZNbpCA==
