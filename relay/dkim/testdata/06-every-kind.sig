DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=Ck5SoRNWUpSR4X0COv7R5ub2pUTtl6xz4dTFz++ji4M=;
	h=from:from:to:subject:date:reply-to:cc:message-id:in-reply-to:references:
	 mime-version:content-type:content-transfer-encoding:list-id:
	 list-unsubscribe:list-unsubscribe-post;
	b=kHOahAfu0xETc1EqBTa/4y5dA4CFLiMlKNlz6sDAGgJa8Eh2hVViSRvizbMeb5+8dFH7EEkJD
	 gAAykUclqzqDQ==
