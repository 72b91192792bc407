DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=Ck5SoRNWUpSR4X0COv7R5ub2pUTtl6xz4dTFz++ji4M=;
	h=from:from:to:to:to:subject:date:references:references;
	b=Ezj0QO19tZLFDPSn5YajSY8XamsAmuZyFGPmPqIXYZDk3SUMHsrqA80pTR0FhvDI0ZCzwFbgO
	 NgZ4yhnqfZZBg==
