DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=Ck5SoRNWUpSR4X0COv7R5ub2pUTtl6xz4dTFz++ji4M=;
	h=from:from:to:subject:subject:date;
	b=PyWmPSiOlIdCaDaT/lR2Z/n9AgwWavp65516XIRObZyzFwdrKRReTNr/Nepo4Y8mcJOgW78jt
	 UC+AIQxbrB8Dw==
