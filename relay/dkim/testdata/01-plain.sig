DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=Ck5SoRNWUpSR4X0COv7R5ub2pUTtl6xz4dTFz++ji4M=;
	h=from:from:to:to:subject:subject:date:date;
	b=z0/nEVm/uUKp5cn7ic2bz6bot0Adw+li0vZF9vzN0R1Hm2kaSd/AG0RYcncnqG9ZYqTibtj9l
	 RxO34hYNQAGCw==
